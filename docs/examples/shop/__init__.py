"""A small shop: ``orders`` takes orders over HTTP, ``products`` keeps the stock, ``notifications`` says thank you."""
