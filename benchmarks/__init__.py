"""What is measured by hand, outside the tests."""
