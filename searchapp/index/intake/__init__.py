"""How sources come in: their names, their files with what becomes of each, and what an index has of them already."""
