"""The pauses between attempts of a call, which tenacity makes of the numbers of a Retry."""

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from rpcservice.core.retry import Retry


class Pauses:
    """Gives the pause after so many attempts, in seconds.

    Args:
        retry: How long the pauses are.
    """

    def __init__(self, retry: Retry) -> None:
        self._jitter = retry.jitter
        self._grow = wait_exponential(multiplier=retry.initial, exp_base=retry.factor, max=retry.max_interval)

    def __call__(self, attempts: int) -> float:
        """Give the pause after so many attempts."""
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = attempts
        pause = self._grow(state)
        return pause + wait_random(-self._jitter * pause, self._jitter * pause)(state)
