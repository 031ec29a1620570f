"""Batches of any size: streams of writes and of reads, carried out in batches as large as AWS takes them."""
