"""Services, workers and containers; knows no transport."""
