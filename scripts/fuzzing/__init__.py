"""What scripts/fuzz_rescue.py is made of: generators of hostile models, and what runs them and watches."""
