"""Being here puts this directory on the import path: the tests below it build their histories with ``histories``."""
