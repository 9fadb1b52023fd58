"""HTTP: the web server, its wire format and the @http entrypoint; the only folder that knows werkzeug."""
