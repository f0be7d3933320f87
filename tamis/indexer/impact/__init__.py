"""Impact parts: postings in the kernel's layout, with a vocabulary, beside the Lucene index or on their own."""
