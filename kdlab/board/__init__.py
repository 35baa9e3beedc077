"""The board: a local web page that shows every study of a store, and a running sweep while it runs."""
