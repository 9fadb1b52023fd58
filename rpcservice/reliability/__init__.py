"""What makes calls survive failures, and keeps failures from spreading; stands on the protocols of the core."""
