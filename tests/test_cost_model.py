"""The model's numbers are those that one gets by hand."""

from typing import Any

import pytest

from airjax.recipes.published import RECIPES
from benchmarks import cost_model, predict, prediction_tables, products
from benchmarks.ablation_variants import VARIANTS
from benchmarks.cost_model import Card, Launches
from benchmarks.kernels import Kernel
from benchmarks.predict import Group, Program
from benchmarks.products import Product

CARD = Card(matrix_rate=1e12, copy_rate=1e9)
TEXT = """
%body.2 (state: (f32[8])) -> (f32[8]) {
  %x = bf16[1024,15,15,64]{3,2,1,0} get-tuple-element(%state), index=1
  %w = bf16[256,3,3,64]{3,2,1,0} get-tuple-element(%state), index=2
  %cudnn-conv.1 = (bf16[1024,14,14,256]{3,2,1,0}, u8[0]{0}) custom-call(%x, %w), window={size=3x3 pad=1_0x1_0}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  %y = bf16[1024,14,14,256]{3,2,1,0} get-tuple-element(%cudnn-conv.1), index=0
  %in.1 = (bf16[1024,16,16,64]{3,2,1,0}, u8[0]{0}) custom-call(%y, %w), window={size=3x3}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput"
  %many = bf16[1024,14,14,1024]{3,2,1,0} get-tuple-element(%state), index=3
  %wide = bf16[1024,15,15,256]{3,2,1,0} get-tuple-element(%state), index=4
  %back.1 = (bf16[1024,3,3,64]{3,2,1,0}, u8[0]{0}) custom-call(%wide, %many), window={size=3x3}, dim_labels=b01f_o01i->b01f, feature_group_count=4, custom_call_target="__cudnn$convBackwardFilter"
  %features = bf16[1024,256]{1,0} get-tuple-element(%state), index=5
  %head = bf16[256,10]{1,0} get-tuple-element(%state), index=6
  %gemm_fusion_dot.7 = f32[1024,10]{1,0} fusion(%features, %head), kind=kCustom, calls=%gemm_fusion_dot.7_computation
  %split = bf16[16,64,256]{2,1,0} bitcast(%features)
  %errors = f32[16,64,10]{2,1,0} get-tuple-element(%state), index=7
  %gemm_fusion_dot.8 = f32[16,256,10]{2,1,0} fusion(%split, %errors), kind=kCustom, calls=%gemm_fusion_dot.8_computation
}
"""  # noqa: E501


def test_a_program_s_products_have_the_sides_of_its_convolutions() -> None:
    pixels = 1024 * 14 * 14
    assert products.products_of(TEXT) == {
        "cudnn-conv.1": Product("forward", pixels, 256, 9 * 64, 64, window=3),
        "in.1": Product("input gradient", 1024 * 16 * 16, 64, 9 * 256, 64, window=3),
        "back.1": Product("kernel gradient", 9 * 64, 256, pixels, 64, groups=4, window=3),
        "gemm_fusion_dot.7": Product("product", 1024, 10, 256, 10),
        "gemm_fusion_dot.8": Product("product", 256, 10, 64, 10, groups=16),
    }
    assert products.products_of(TEXT)["back.1"].flops == 4 * 2 * 9 * 64 * 256 * pixels
    with pytest.raises(ValueError, match="convForwardGraph"):
        products.products_of(TEXT.replace("convForward", "convForwardGraph"))


def test_waves_are_whole() -> None:
    # Tiles of 128x256: 72 on 132 multiprocessors; 288 take three waves; 132 fill one.
    of_rows = {rows: Product("forward", rows, 256, 2304, 256) for rows in (9216, 36_864, 132 * 128)}
    assert cost_model.fill(of_rows[9216]) == pytest.approx(72 / 132)
    assert cost_model.fill(of_rows[36_864]) == pytest.approx(288 / 396)
    assert cost_model.fill(of_rows[132 * 128]) == 1.0
    # 18 whole tiles are worse than 36 halves at 0.8 of the rate.
    assert cost_model.fill(Product("forward", 2304, 256, 9216, 256)) == pytest.approx(0.8 * 36 / 132)
    # Four members have four times the tiles: 288.
    assert cost_model.fill(of_rows[9216]._replace(groups=4)) == pytest.approx(288 / 396)
    assert cost_model.fill(of_rows[9216]._replace(kind="kernel gradient")) == 1.0


def test_the_rate_grows_with_the_channels() -> None:
    assert [cost_model.rate_fraction(channels) for channels in (256, 64, 24)] == [0.75, 0.575, 0.34]
    assert cost_model.rate_fraction(512) == 0.75
    assert cost_model.rate_fraction(128) == pytest.approx((0.575 + 0.75) / 2)
    assert cost_model.rate_fraction(3) == pytest.approx(0.34 / 8)


def test_a_convolution_takes_its_arithmetic_or_its_arrays() -> None:
    product = Product("forward", 132 * 128, 256, 1000, 256)
    seconds = 2 * 132 * 128 * 256 * 1000 / (0.75 * 1e12)
    assert cost_model.product_seconds(product, CARD) == pytest.approx(seconds)
    kernel = Kernel("conv", "convolutions", 0, int(1e9))
    times = cost_model.step_times([kernel], {"conv": product}, CARD, Launches())
    assert times.products == pytest.approx(1.0)
    small = kernel._replace(written=1000)
    assert cost_model.step_times([small], {"conv": product}, CARD, Launches()).products == pytest.approx(seconds)
    assert cost_model.bound([small], {"conv": product}, CARD) == pytest.approx(0.75 * seconds)


def test_other_kernels_take_their_arrays_and_never_less_than_a_floor() -> None:
    kernels = [Kernel("large", "GELU", 3_000_000, 1_000_000), Kernel("small", "GELU", 10, 10)]
    times = cost_model.step_times(kernels, {}, CARD, Launches())
    assert times.others == pytest.approx(4e6 / (0.8 * 1e9))
    assert times.small == 2e-6
    overlapped = cost_model.step_times(kernels, {}, CARD, Launches(), overlapped=True)
    assert overlapped.total == pytest.approx(4_000_020 / (0.8 * 1e9))


def test_gaps_are_shorter_in_a_graph() -> None:
    convolution = Product("forward", 128, 256, 9, 256)
    kernels = [Kernel(name, "", 0, 0) for name in ("a", "b", "conv", *"cdefgh")]
    known = {"conv": convolution, "h": convolution._replace(kind="product")}
    # a, b and the convolution alone; a graph of six after it.
    assert cost_model.gaps(kernels, known, Launches()) == pytest.approx(4 * 1.2e-6 + 5 * 0.5e-6)
    assert cost_model.gaps(kernels, known, Launches(convolutions=True)) == pytest.approx(1.2e-6 + 8 * 0.5e-6)
    assert cost_model.gaps(kernels, known, Launches(graphs=False)) == pytest.approx(9 * 1.2e-6)


def test_side_by_side_fills_the_last_waves_of_input_gradients() -> None:
    product = Product("input gradient", 9216, 256, 2304, 256)
    kernels = [Kernel("conv", "convolutions", 0, 0)]
    one, other = (
        cost_model.step_times(kernels, {"conv": product}, CARD, Launches(True, True, side)).products
        for side in (False, True)
    )
    assert other == pytest.approx(one * 72 / 132)


def test_a_run_is_its_phases_its_evaluation_and_its_start() -> None:
    recipe, card = RECIPES["94"], cost_model.card_of("h200")
    evaluation = 2 * recipe.forward_macs * 6 * 10_000 / (0.45 * 790e12)
    assert cost_model.evaluation_seconds(recipe, card) == pytest.approx(evaluation)
    assert evaluation == pytest.approx(0.04, rel=0.01)
    assert cost_model.run_seconds(recipe, card, 2e-3, 3e-3) == pytest.approx(
        144 * 3e-3 + 332 * 2e-3 + evaluation + 0.03
    )


def test_variants_are_launched_as_their_compiler_options_say() -> None:
    assert predict.launches_of("no command buffers") == Launches(graphs=False)
    of_options = {
        name: predict.launches_of(name)
        for name, variant in VARIANTS.items()
        if variant.compiler and "xla_gpu_command_buffer_scheduling_mode" in variant.compiler
    }
    assert of_options
    assert set(of_options.values()) == {Launches(convolutions=True, side_by_side=True)}


def predicted() -> dict[str, Any]:
    kernels = [Kernel("conv", "convolutions", 0, 0), Kernel("other", "GELU", 10**9, 10**9)]
    one = Program(kernels, {"conv": Product("forward", 9216, 256, 2304, 256)})
    group = Group("interleaved", 2, launched=predict.SIDE_BY_SIDE)
    two = Program([*kernels, *kernels], one.products, 2, interleaved=True)
    return predict.predict(
        RECIPES["94"], "h200", {"as it is": ((1.0, one),), predict.NOT_FROZEN: ((1.0, one),)}, {group: ((1.0, two),)}
    )


def test_interleaved_networks_fill_each_other_s_waves() -> None:
    record = predicted()
    arithmetic, arrays = 2 * 9216 * 256 * 2304 / (0.75 * 790e12), 2e9 / (0.8 * 4.3e12)
    alone = record["levers"]["every kernel launched by itself"]
    assert alone == pytest.approx(arithmetic / (72 / 132) + arrays + 2 * 1.2e-6)
    [(title, seconds)] = record["groups"].items()
    assert title == f"interleaved, 2 networks, {predict.SIDE_BY_SIDE}"
    assert seconds == pytest.approx(arithmetic + arrays)
    assert record["networks_per_hour"]["sequential"] == pytest.approx(3600 / record["run"]["seconds"])
    assert record["airbench94_compiled"]["run"] == pytest.approx(476 * 2.4e-3 + 0.158)
    assert record["ratio"] == pytest.approx(record["run"]["seconds"] / record["airbench94_compiled"]["run"])


def test_a_step_of_images_of_several_sizes_is_the_mean_of_all_steps() -> None:
    one = Program([Kernel("other", "GELU", 10**9, 10**9)], {})
    two = Program([*one.kernels, *one.kernels], {})

    def seconds(*steps: tuple[float, Program]) -> float:
        return predict.predict(RECIPES["94-airjax"], "h200", {"as it is": steps}, {})["step"]["seconds"]

    alone, both = seconds((1.0, one)), seconds((1.0, two))
    assert both > 1.9 * alone
    assert seconds((0.25, one), (0.75, two)) == pytest.approx(0.25 * alone + 0.75 * both)


def test_the_table_says_what_is_predicted_and_what_is_measured() -> None:
    record = predicted() | {"recipe": "94", "card": "h200", "prediction": True, "measured": False}
    table = prediction_tables.predictions_table([record])
    assert table.startswith("Each predicted number is a model's")
    step = f"| a step: as it is | {1e3 * record['step']['seconds']:.2f} ms |"
    assert f"{step}\n" in table
    assert "measured |" not in table
    found = {"device": "NVIDIA H200", "recipe": "94"}
    steps = found | {"steps": {"as it is": {"seconds": 0.00225, "ratio": 1.0}, "float16": {"failed": "out of memory"}}}
    seconds = {"whiten": 0.01, "train": 1.1, "evaluate": 0.04}
    groups = [
        found | {"strategy": "sequential", "members": 1, "networks_per_hour": 3130.4, "seconds": seconds},
        found | {"strategy": "interleaved", "members": 2, "networks_per_hour": 3500.0, "seconds": seconds},
        {"device": "another", "recipe": "94", "strategy": "sequential", "members": 1, "networks_per_hour": 1.0},
    ]
    trained = [
        found
        | {
            "changed": {"precision": "bfloat16"},
            "dataset": "cifar10",
            "dataset_sha256": "a",
            "commit": "c",
            "seeds": [0, 1],
            "accuracy": [0.94, 0.94],
            "n": 2,
            "seconds": {"compile": 9.0, "whiten": 0.02, "train": 2.3, "evaluate": 0.08},
        }
    ]
    measurements = prediction_tables.Measurements([steps], groups, trained)
    beside = prediction_tables.predictions_table([record], measurements)
    assert "|  | 94, H200, predicted | measured |" in beside.replace("| | 94", "|  | 94")
    assert f"{step} 2.25 ms |" in beside
    assert "s | 1.20 s |" in beside
    assert "| 3130 |" in beside
    assert "| 3500 |" in beside
    assert "| networks per hour: airbench94_compiled, one after another | 2768 |" in table
    run = found | {"benchmark": "run", "changed": {}, "airjax": 1.15, "torch": 1.62, "ratio": 0.712}
    others = [run | {"best_torch": "eager", "torch": 3.0}, run | {"best_torch": "airbench-compiled"}]
    beside = prediction_tables.predictions_table([record], measurements._replace(compared=others))
    assert "s | 1.15 s |" in beside
    rows = {row.split(" | ")[0]: row.split(" | ")[2] for row in beside.splitlines() if row.count(" | ") > 1}
    assert rows["| airbench94_compiled: a whole training"] == "1.62 s |"
    assert rows["| airjax / airbench94_compiled"] == "0.71 |"
    with pytest.raises(ValueError, match="not marked as a prediction"):
        prediction_tables.predictions_table([record | {"prediction": False}])
    assert "Not predicted yet" in prediction_tables.predictions_table([])


def test_every_constant_says_where_it_is_from() -> None:
    assert all(constant.source for constant in cost_model.CONSTANTS.values())
    assert {name for name, one in cost_model.CONSTANTS.items() if one.source == cost_model.RATE} == {
        f"{card} {rate} rate" for card in cost_model.CARDS for rate in ("matrix", "copy")
    }
