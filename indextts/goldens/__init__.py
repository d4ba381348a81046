"""Arrays of the reference, and who judges them; see ``indextts.parity``."""
