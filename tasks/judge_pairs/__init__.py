"""`judge_pairs`: which of two answers to a request is better, each pair judged in both orders."""
