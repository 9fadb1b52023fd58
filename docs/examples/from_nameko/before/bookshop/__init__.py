"""A small bookshop: a catalogue, orders, a journal and a web gateway."""
