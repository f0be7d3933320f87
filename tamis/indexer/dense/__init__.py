"""Dense parts: one vector a document, searched by scanning, by short codes, or through faiss."""
