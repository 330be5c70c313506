"""The report: methods compared on one self-contained HTML page, with its figures and numbers.

Nothing is imported here: `curves` is needed where matplotlib is not installed.
"""
