"""Text to representation: what turns queries and passages into terms, weights and vectors.

So far it holds `tamis.encoders.analysis`, which turns text into index terms without a Java virtual machine.
"""
