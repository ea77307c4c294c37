"""The controller: one leader that alone speaks to the cloud and keeps its route tables as the store says."""
