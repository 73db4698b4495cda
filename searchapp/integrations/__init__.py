"""Indexes in the shapes that other programs expect: LangChain, LlamaIndex, Haystack."""
