"""Counts of what a compiled program executes, on programs written by hand."""

import pytest

from airjax.recipes.published import RECIPES
from benchmarks import executed
from benchmarks.products import products_of

TEXT = """
%gemm (a: bf16[8,4], b: bf16[4,5]) -> bf16[8,5] {
  %a = bf16[8,4]{1,0} parameter(0)
  %b = bf16[4,5]{1,0} parameter(1)
  ROOT %dot.1 = bf16[8,5]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (state: (f32[8])) -> (f32[8]) {
  %x = bf16[10,7,7,16]{3,2,1,0} fusion(%state), kind=kLoop, calls=%other
  %kernel = bf16[32,3,3,16]{3,2,1,0} fusion(%state), kind=kLoop, calls=%other
  %u = bf16[8,4]{1,0} fusion(%state), kind=kLoop, calls=%other
  %v = bf16[4,5]{1,0} fusion(%state), kind=kLoop, calls=%other
  %conv.1 = (bf16[10,6,6,32]{3,2,1,0}, u8[0]{0}) custom-call(%x, %kernel), window={size=3x3}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  %out = bf16[10,6,6,32]{3,2,1,0} get-tuple-element(%conv.1), index=0
  %wide = f32[10,6,6,32]{3,2,1,0} fusion(%out), kind=kLoop, calls=%other
  %named = f32[10,6,6,32]{3,2,1,0} bitcast(%wide)
  %conv.2 = (bf16[10,8,8,16]{3,2,1,0}, u8[0]{0}) custom-call(%out, %kernel), window={size=3x3}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput"
  %conv.3 = (bf16[32,3,3,16]{3,2,1,0}, u8[0]{0}) custom-call(%x, %out), window={size=3x3}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  %conv.4 = (bf16[10,6,6,32]{3,2,1,0}, u8[0]{0}) custom-call(%x, %grouped), window={size=5x5}, dim_labels=b01f_o01i->b01f, feature_group_count=4, custom_call_target="__cudnn$convForward"
  %grouped = bf16[32,5,5,4]{3,2,1,0} get-tuple-element(%state), index=3
  %gemm_fusion_dot.2 = bf16[8,5]{1,0} fusion(%u, %v), kind=kCustom, calls=%gemm
  ROOT %result = (f32[8]{0}) tuple(%gemm_fusion_dot.2)
}
"""  # noqa: E501


def test_flops_are_those_of_products_over_all_windows() -> None:
    assert {name: product.flops for name, product in products_of(TEXT).items()} == {
        "conv.1": 2 * (10 * 6 * 6 * 32) * 9 * 16,
        "conv.2": 2 * (10 * 8 * 8 * 16) * 9 * 32,
        "conv.3": 2 * (32 * 9 * 16) * (10 * 6 * 6),
        "conv.4": 2 * (10 * 6 * 6 * 32) * 25 * 4,
        "gemm_fusion_dot.2": 2 * 8 * 5 * 4,
    }
    assert executed.executed_flops(TEXT) == sum(product.flops for product in products_of(TEXT).values())
    assert products_of(TEXT)["conv.4"].window == 5


def test_float32_activations_are_found() -> None:
    assert executed.float32_activations(TEXT, 10) == ["wide"]


def test_graphs_and_what_is_launched_beside_them() -> None:
    thunks = """000: kCommandBuffer [source]
    001: kCustomKernel [source] fusion
    002: kConvolution [source] conv
003: kWhile [source]
    004: kCustomKernel [source] condition
    005: kCommandBuffer [source]
        006: kCustomKernel [source] fusion
        007: kWhile [source]
            008: kConvolution [source] conv
    009: kConvolution [source] conv
010: kCopy [source]
"""
    assert executed.graphs_of(thunks) == executed.Graphs(graphs=2, outside=3)


def test_needed_flops_leave_out_dropped_pixels_and_unread_gradients() -> None:
    # 94 at a batch of 1024, by hand: first layer, then the blocks' two convolutions each, and the head.
    first = 31 * 31 * 12 * 24
    convolutions = [
        *(30 * 30 * 9 * 24 * 64, 15 * 15 * 9 * 64 * 64),
        *(14 * 14 * 9 * 64 * 256, 7 * 7 * 9 * 256 * 256),
        *(6 * 6 * 9 * 256 * 256, 3 * 3 * 9 * 256 * 256),
    ]
    products = first + 3 * sum(convolutions) - convolutions[0] + 3 * 2560
    assert executed.needed_flops(RECIPES["94"]) == pytest.approx(2 * 1024 * products, rel=1e-12)
