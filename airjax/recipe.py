"""`python -m airjax.recipe`: see `airjax.cli.recipes`; and the names of recipes, as `airjax.recipes` has them."""

from airjax.cli.console import run_main
from airjax.cli.recipes import main
from airjax.recipes.published import CLAIMS, RECIPES, Claim, get_recipe, summarize
from airjax.recipes.recipe import Recipe

__all__ = ["CLAIMS", "RECIPES", "Claim", "Recipe", "get_recipe", "summarize"]

if __name__ == "__main__":
    run_main(main)
