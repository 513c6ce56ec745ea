// argocd is the parts of Argo CD that make what a repository says true, in one program: the base name that it is called by
// says which it is, or else its first argument. Argo CD's own program holds its server with its pages as well.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	application "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	applicationset "github.com/argoproj/argo-cd/v3/cmd/argocd-applicationset-controller/commands"
	notification "github.com/argoproj/argo-cd/v3/cmd/argocd-notification/commands"
	repo "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v3/util/log"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

var programs = map[string]func() *cobra.Command{
	"argocd-application-controller":    application.NewCommand,
	"argocd-applicationset-controller": applicationset.NewCommand,
	"argocd-notifications":             notification.NewCommand,
	"argocd-repo-server":               repo.NewCommand,
}

func main() {
	command, known := programs[filepath.Base(os.Args[0])]
	if !known && len(os.Args) > 1 {
		if command, known = programs[os.Args[1]]; known {
			os.Args = os.Args[1:]
		}
	}
	if !known {
		names := make([]string, 0, len(programs))
		for name := range programs {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "call it, or name first, one of %s\n", strings.Join(names, ", "))
		os.Exit(2)
	}
	// What Kubernetes' libraries tell comes in the same form as the rest.
	klog.SetLogger(log.NewLogrusLogger(log.NewWithCurrentConfig()))
	if err := command().Execute(); err != nil {
		os.Exit(1)
	}
}
