/// The code of a recipe's module, as its page in the guide has it.
fn shown(module: &str) -> String {
    let (_, code) = module.split_once("\n\n").unwrap();
    code.replace("pub fn", "fn")
}

#[test]
fn the_guide_shows_the_recipes_that_are_tested_here() {
    for (page, module) in [
        (
            include_str!("../../../../courteous/docs/kube.md"),
            include_str!("../../src/kube_recipe.rs"),
        ),
        (
            include_str!("../../../../courteous/docs/octocrab.md"),
            include_str!("../../src/octocrab_recipe.rs"),
        ),
    ] {
        let code = shown(module);
        assert!(
            page.contains(&code),
            "the page has another recipe than:\n{code}"
        );
    }
}
