"""A service with nameko-redis."""

from nameko.rpc import rpc
from nameko_redis import Redis


class CachingService:
    name = "caching"

    redis = Redis("development")

    @rpc
    def put(self, key, value):
        self.redis.set(key, value)

    @rpc
    def get(self, key):
        return self.redis.get(key)
