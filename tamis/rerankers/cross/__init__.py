"""Cross-encoders: query and passage read as one text, in torch or by an exported graph."""
