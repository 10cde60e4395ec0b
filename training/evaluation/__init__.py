"""How good mattes are, against true ones."""
