"""Benches: `make bench`, or `python -m tests.bench [--quick] [NAME …]`. They print Markdown tables."""
