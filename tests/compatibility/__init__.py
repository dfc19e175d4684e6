"""What earlier versions wrote is read, or refused in one line that says so.

``written_before.tar.xz`` holds small runs, an export and a task log of version 0.1.0 as it was
before studies and systems had one house: MAPPO on tandem, QMIX on peer offloading, SCALE on DAG
placement, O2O-DRL from the log.
"""
