// Every recipe by name.
import { dinoRecipes } from "./dino.ts";
import { maeRecipes } from "./mae.ts";
import { mocoRecipes } from "./moco.ts";
import type { Recipe } from "./recipe.ts";
import { simclrRecipes } from "./simclr.ts";

export const recipes: Readonly<Record<string, Recipe>> = { ...simclrRecipes, ...mocoRecipes, ...dinoRecipes, ...maeRecipes };

/** The recipe that a method is trained by when none is named: small enough for a laptop. */
export const defaultRecipe = (method: string): string => `${method}-small`;
