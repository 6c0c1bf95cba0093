/** Where the package's own code lies: lib/ or dist/, as a URL that ends in a slash. Chunks of the bundle lie there too. */
export const home = new URL('.', import.meta.url);
