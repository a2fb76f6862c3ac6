"""Run the table of faults with this package and with other clients, to compare them."""
