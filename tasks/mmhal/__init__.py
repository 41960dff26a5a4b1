"""`mmhal`: MMHal-Bench, free answers rated 0 to 6 by a judge."""
