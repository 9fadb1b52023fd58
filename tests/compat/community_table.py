"""What became of the community's extensions of nameko, unedited, in drop-in mode; all that PyPI has, as of 2026-11."""

from typing import NamedTuple

TESTED = "tested"
"""In a service, by this test suite."""
TRIED = "tried"
"""In a service, by hand."""
IMPORTS = "imports"
"""All of its modules can be imported; what it talks to was not at hand."""
FAILS_HERE = "fails here"
"""It stands on something of nameko's that is not there."""
FAILS_ANYWHERE = "fails anywhere"
"""It cannot be installed or imported on Python 3.11, with nameko or without."""


class Row(NamedTuple):
    """One extension."""

    name: str
    version: str
    outcome: str
    note: str = ""


CLI = "replaces the command line of nameko 2; use `rpcservice run --nameko`"
ANYJSON = "its dependency anyjson cannot be built any more"
MUTABLE = "looks for abstract classes in `collections`"

TABLE = (
    Row("aio-nameko-proxy", "1.3.1", FAILS_ANYWHERE, "its own metadata is invalid; rpcservice.aio does the same"),
    Row("commony", "0.2.0", IMPORTS),
    Row("django-nameko", "0.8.2", TRIED, "with Django 5"),
    Row("emplo-nameko-zipkin", "0.1.8", IMPORTS),
    Row("flask-nameko", "1.4.0", TRIED, "with Flask 3"),
    Row("nameko-amqp-retry", "0.7.1", TESTED, "needs setuptools<81, for it imports pkg_resources"),
    Row("nameko-apscheduler", "0.2.0", IMPORTS),
    Row("nameko-atomicity", "1.0.0", TESTED),
    Row("nameko-autocrud", "0.2.0", IMPORTS),
    Row("nameko-bayeux-client", "1.0.0", IMPORTS),
    Row("nameko-cache", "1.0.6", FAILS_ANYWHERE, "PyPI has it for Windows alone"),
    Row("nameko-cachelib", "0.1.1", FAILS_ANYWHERE, "imports its own modules by relative names of Python 2"),
    Row("nameko-cachetools", "1.0.0", TESTED),
    Row("nameko-chassis", "3.2.0", TRIED),
    Row("nameko-cli", "0.0.6", FAILS_ANYWHERE, "its template imports a package that PyPI does not have"),
    Row("nameko-cloudant", "0.1.7", FAILS_ANYWHERE, MUTABLE),
    Row("nameko-cron", "0.1.0", TESTED),
    Row("nameko-design", "0.1.dev2", FAILS_ANYWHERE, "needs a markupsafe of before 2.1"),
    Row("nameko-dev", "0.0.7", FAILS_HERE, CLI),
    Row("nameko-django", "1.1.4", IMPORTS),
    Row("nameko-django-orm", "2.0.4", IMPORTS),
    Row("nameko-eventlog-dispatcher", "0.4.2", TESTED),
    Row("nameko-extras", "0.1.1", FAILS_HERE, CLI),
    Row("nameko-grpc", "1.3.0", TRIED, "unary and streaming calls, with its entrypoint and its client"),
    Row("nameko-hot-reload", "0.2", FAILS_HERE, CLI),
    Row("nameko-http", "0.1.7", TESTED),
    Row("nameko-injector", "1.1.2", TESTED),
    Row("nameko-kafka", "0.2.1", IMPORTS, "with pymongo, which it does not ask for"),
    Row("nameko-keycloak", "2.2.0", IMPORTS),
    Row("nameko-log-context", "0.0.3", TRIED),
    Row("nameko-logstash", "0.4", FAILS_ANYWHERE, "does not ask for the package that it imports"),
    Row("nameko-memcached", "0.1.0", IMPORTS),
    Row("nameko-mongo-util", "1.0.2", IMPORTS),
    Row("nameko-mongodb", "1.1.1", IMPORTS),
    Row("nameko-mongoengine", "0.1.1", IMPORTS),
    Row("nameko-neo4j", "0.0.1", FAILS_ANYWHERE, ANYJSON),
    Row("nameko-nova-compat", "0.0.2", IMPORTS),
    Row("nameko-objectstorage", "0.1.3", FAILS_ANYWHERE, ANYJSON),
    Row("nameko-opentsdb-py", "0.0.2", IMPORTS),
    Row("nameko-pony", "1.0.0", FAILS_ANYWHERE, "is written in Python 2"),
    Row("nameko-prometheus", "1.6.0", TESTED),
    Row("nameko-proxy", "0.0.5", FAILS_HERE, "stands on the inside of nameko.standalone.rpc; use rpcservice.aio"),
    Row("nameko-pymemcache", "0.1.3", IMPORTS),
    Row("nameko-query", "0.0.2", FAILS_HERE, "stands on the inside of nameko.standalone.rpc"),
    Row("nameko-redis", "1.1.0", TESTED),
    Row("nameko-redis-py", "0.1.0", IMPORTS),
    Row("nameko-rediskn", "0.1.1", TRIED),
    Row("nameko-redisy", "1.0.2", IMPORTS),
    Row("nameko-reloader", "0.2.0", FAILS_HERE, CLI),
    Row("nameko-salesforce", "1.2.0", FAILS_ANYWHERE, f"a dependency of its {MUTABLE}"),
    Row("nameko-sematext-logger", "0.0.1", IMPORTS),
    Row("nameko-sendgrid", "0.1", IMPORTS),
    Row("nameko-sentry", "1.0.0", TESTED, "with raven 6.10"),
    Row("nameko-serializer", "1.0.0", IMPORTS),
    Row("nameko-slack", "0.0.6", IMPORTS),
    Row("nameko-slackclient", "0.0.3", IMPORTS),
    Row("nameko-socket-server", "0.1.1", IMPORTS),
    Row("nameko-sqlalchemy", "1.5.0", TESTED, "with SQLAlchemy 2"),
    Row("nameko-statsd", "0.1.4", TESTED),
    Row("nameko-stripe", "0.1.3", IMPORTS),
    Row("nameko-structlog", "0.2.2", TESTED),
    Row("nameko-tool", "0.1.0", IMPORTS),
    Row("nameko-tracer", "1.4.0", TESTED),
    Row("nameko-twilio", "0.1", IMPORTS),
    Row("nameko-vault", "0.4.0", IMPORTS),
    Row("nameko-wamp", "0.3.0", FAILS_ANYWHERE, ANYJSON),
    Row("nameko-worker-postmortem", "1.0.0", IMPORTS, "its pytest plugin wraps `ServiceContainer._worker_result`"),
    Row("nameko-wrapper", "0.0.30", FAILS_HERE, CLI),
    Row("nameko-zipkin", "0.1.2", FAILS_ANYWHERE, "knows no py_zipkin of the last years; OpenTelemetry works"),
    Row("opentelemetry-instrumentation-nameko", "0.5.2", TESTED),
    Row("sentry-nameko", "0.1.2", FAILS_ANYWHERE, "is written in Python 2"),
)
