// Names that arguments and flags choose from. The tables they come from are loaded only when a name has to be judged.
import type { Choices, Refuse } from "./command.ts";

/** What an argument or a flag says about the names it takes. */
interface Named {
  choices: Choices;
  listedBy: string;
  refuse?: Refuse;
}

export const methodName: Named = {
  choices: async () => Object.keys((await import("../src/methods/methods.ts")).methods),
  listedBy: "autodidact methods",
};

export const recipeName: Named = {
  choices: async () => Object.keys((await import("../src/recipes/recipes.ts")).recipes),
  listedBy: "autodidact recipes",
};

/** A ResNet may carry a width that is not listed. */
export const backboneName: Named = {
  choices: async () => (await import("../src/models/backbones.ts")).backbones().map(({ name }) => name),
  refuse: async (name) => (await import("../src/models/backbones.ts")).backboneError(name),
  listedBy: "autodidact models",
};

export const publishedName: Named = {
  choices: async () => Object.keys((await import("../src/models/published.ts")).published),
  listedBy: "autodidact models --published",
};
