if __name__ != "edge_marl.algorithms":
    # Under its bare name every class would exist twice, once per name.
    raise ImportError("import this package as edge_marl.algorithms, not as algorithms")
