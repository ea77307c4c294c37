"""Address management: Calico's blocks, affinities and handles over any store. It knows no cloud and no kernel."""
