"""What a config may say: the fields kdlab interprets, their types and ranges, and the cross-checks between them."""
