"""A Django project that is its own only application."""
