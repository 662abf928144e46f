"""A page about finished runs that needs nothing but a browser: tables, curves, pictures and a scene to turn."""
