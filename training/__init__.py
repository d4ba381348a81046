"""How the embedded checkpoint ``nano`` was made; never imported by the packages that speak."""
