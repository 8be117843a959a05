/// The code of a recipe's module, as README has it.
fn shown(module: &str) -> String {
    let (_, code) = module.split_once("\n\n").unwrap();
    code.replace("pub fn", "fn")
}

#[test]
fn readme_shows_the_recipes_that_are_tested_here() {
    let readme = include_str!("../../../../../README.md");
    for module in [
        include_str!("../../src/kube_recipe.rs"),
        include_str!("../../src/octocrab_recipe.rs"),
    ] {
        let code = shown(module);
        assert!(
            readme.contains(&code),
            "README has another recipe than:\n{code}"
        );
    }
}
