"""Django's settings, as few as there can be."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "only for trying things out")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = ["shopsite"]
ROOT_URLCONF = "shopsite.urls"
WSGI_APPLICATION = "shopsite.wsgi.application"
USE_TZ = True

RPCSERVICE = {"AMQP_URI": os.environ["AMQP_URI"], "rpc_timeout": 5}
