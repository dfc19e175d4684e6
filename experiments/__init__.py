if __name__ != "edge_marl.experiments":
    # Under its bare name every class would exist twice, once per name.
    raise ImportError("import this package as edge_marl.experiments, not as experiments")
