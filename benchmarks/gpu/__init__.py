"""What tools/check_gpu.py runs on a GPU."""
