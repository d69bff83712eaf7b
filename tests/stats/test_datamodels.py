import numpy as np
import pytest

from airjax.stats.datamodels import (
    column_correlations,
    fit_datamodels,
    inclusion,
    left_out_correlations,
    margins,
    predict_outputs,
    strongest,
)


def test_inclusion_marks_the_examples_of_each_subset() -> None:
    seen = inclusion(np.array([[0, 2], [3, 1]], np.int32), 4)
    np.testing.assert_array_equal(seen, [[True, False, True, False], [False, True, False, True]])


def test_margin_is_the_correct_logit_above_the_best_other() -> None:
    logits = np.array([[[5.0, 2.0, 3.0], [1.0, 4.0, 9.0]]], np.float16)
    np.testing.assert_array_equal(margins(logits, np.array([0, 1])), [[2.0, -5.0]])


def simulated(runs: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    seen = np.stack([generator.permutation(40) < 20 for _ in range(runs)])
    # Test example j is helped by training example j and hurt by training example 10 + j.
    weights = 2 * np.eye(40, 5) - 2 * np.eye(40, 5, -10)
    return seen, weights, seen @ weights + 3 + noise * generator.normal(size=(runs, 5))


def test_planted_effects_are_found() -> None:
    seen, weights, outputs = simulated(800, 1.0)
    models = fit_datamodels(seen, outputs)
    # Every subset has the same size, so a constant may move between the weights and the intercept.
    np.testing.assert_allclose(models.weights - models.weights.mean(0), weights, atol=0.35)
    for test_example in range(5):
        help_most, hurt_most = strongest(models, test_example, 1)
        assert (help_most[0], hurt_most[0]) == (test_example, test_example + 10)
    others, _, truth = simulated(1000, 0.0)
    assert (column_correlations(predict_outputs(models, others[800:]), truth[800:]) > 0.98).all()


def test_leaving_one_network_out_is_what_the_formula_says() -> None:
    seen, _, outputs = simulated(30, 1.0)
    models = fit_datamodels(seen, outputs, (10.0,))
    spread = float((seen - seen.mean(0)).var(0).mean())
    predicted = []
    for left_out in range(30):
        rest = np.arange(30) != left_out
        x, y = seen[rest].astype(float), outputs[rest]
        # Ridge with a free intercept, solved directly.
        centred = x - x.mean(0)
        weights = np.linalg.solve(centred.T @ centred + 10 * spread * np.eye(40), centred.T @ (y - y.mean(0)))
        predicted.append((seen[left_out] - x.mean(0)) @ weights + y.mean(0))
    np.testing.assert_allclose(
        models.left_out_correlation, left_out_correlations(np.stack(predicted), outputs), rtol=1e-8
    )


def test_the_penalty_grows_with_noise_and_noise_is_not_predicted() -> None:
    penalties = [fit_datamodels(*simulated(100, noise)[::2]).penalty for noise in (0.1, 3.0)]
    assert penalties[0] < penalties[1]
    seen = simulated(200, 0.0)[0]
    models = fit_datamodels(seen, np.random.default_rng(1).normal(size=(200, 300)))
    assert abs(predict_outputs(models, seen).std(0).mean()) < 0.3
    assert abs(models.left_out_correlation.mean()) < 0.1


@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_the_correlation_of_left_out_networks_is_about_that_of_new_ones(noise: float) -> None:
    seen, _, outputs = simulated(800, noise)
    models = fit_datamodels(seen[:400], outputs[:400])
    new = column_correlations(predict_outputs(models, seen[400:]), outputs[400:])
    assert models.left_out_correlation.mean() == pytest.approx(new.mean(), abs=0.1)


def test_predictions_that_are_the_mean_of_the_others_say_nothing() -> None:
    outputs = np.random.default_rng(0).normal(size=(60, 50))
    mean_of_others = (outputs.sum(0) - outputs) / 59
    assert column_correlations(mean_of_others, outputs) == pytest.approx(-np.ones(50))
    known = np.random.default_rng(1).normal(size=(60, 50))
    np.testing.assert_allclose(
        left_out_correlations(mean_of_others + known, outputs), column_correlations(known, outputs), atol=1e-12
    )


@pytest.mark.parametrize(
    ("seen", "outputs", "message"),
    [
        (np.ones((5, 3), bool), np.zeros((5, 2)), "all networks saw the same"),
        (np.eye(2, dtype=bool), np.zeros((2, 1)), "need 3 networks"),
        (np.eye(3, dtype=bool), np.zeros((4, 1)), "presence"),
        (np.eye(3, dtype=bool), np.full((3, 1), np.nan), "not finite"),
    ],
)
def test_bad_studies_are_named(seen: np.ndarray, outputs: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_datamodels(seen, outputs)


def test_a_constant_output_has_no_correlation() -> None:
    assert column_correlations(np.ones((4, 1)), np.arange(4.0)[:, None]).tolist() == [0.0]
