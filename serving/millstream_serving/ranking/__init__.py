"""From a query to an answer: which version, scored where, counted how."""
