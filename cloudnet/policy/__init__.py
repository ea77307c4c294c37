"""Network policy: what each packet may do, decided from labels and addresses, carried out by nftables."""
