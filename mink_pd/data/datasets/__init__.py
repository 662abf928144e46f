"""Data sets, one file each; the registry imports all of them."""
