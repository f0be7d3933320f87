"""Entities: a vocabulary of them, and linkers that propose entities for texts."""
