"""Dense parts: one vector a row, searched exactly, through a quantised first pass, or through an approximate faiss index."""
