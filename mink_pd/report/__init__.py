"""Self-contained HTML pages: a report about finished runs, and a check of labelled frames."""
