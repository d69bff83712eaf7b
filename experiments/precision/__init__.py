"""Precision: are networks trained in bfloat16 as accurate as in float32?"""
