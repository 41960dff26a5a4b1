"""Attention patterns and backends: the folder is reserved, nothing is in it yet."""
