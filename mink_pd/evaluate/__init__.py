"""The figures of each benchmark."""
